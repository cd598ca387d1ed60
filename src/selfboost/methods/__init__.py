"""Methods, one file per paper. A file here is a method when it defines the class of its own name."""
