"""The federated room: hospitals train one model together, and no record leaves any of them."""
