"""Finding what a text says about a question: words, passages, and the judgement whether one of them answers.

Shared by the application, which searches the documents of its users, and by the local server, which searches the corpus.
"""
