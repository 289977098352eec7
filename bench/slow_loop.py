"""An ONNX loop that takes time and does nothing else, for policies that are too slow on purpose."""

from onnx import GraphProto, TensorProto, helper


def loop_body(actions: int, dtype: int = TensorProto.FLOAT) -> GraphProto:
    """Return the body of a `Loop` over a tensor of shape (1, actions)."""
    return helper.make_graph(
        [
            helper.make_node("Identity", ["go"], ["go_on"]),
            helper.make_node("Tanh", ["x"], ["bounded"]),
            helper.make_node("Add", ["bounded", "x"], ["more"]),
            helper.make_node("Tanh", ["more"], ["next"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("trip", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("x", dtype, [1, actions]),
        ],
        [
            helper.make_tensor_value_info("go_on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("next", dtype, [1, actions]),
        ],
    )
