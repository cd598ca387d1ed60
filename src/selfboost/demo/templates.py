"""The request templates of the prompt generator and the response improver, one line each, for `str.format`."""

GENERATOR_TEMPLATE = "make a question and its solution with : {keywords}"
GENERATOR_TARGET = "<question> {question} </question> <solution> {solution} </solution>"
KEYWORD_SEPARATOR = " , "
REWRITE_TEMPLATE = "{prompt} now improve the answer : {answer}"
