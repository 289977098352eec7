"""The boundary between learner and controller: contract, wire, policy files."""
