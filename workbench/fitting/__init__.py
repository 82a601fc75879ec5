"""What methods are made of: the contract, prediction, learning, searching on dev."""
