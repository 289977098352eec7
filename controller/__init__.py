"""Everything that runs on the robot PC: the C++ controller and its Python side."""
