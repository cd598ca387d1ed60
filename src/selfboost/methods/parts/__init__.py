"""What methods are built of: how pairs are made, labelled, filtered, trained on. Nothing here is a method."""
