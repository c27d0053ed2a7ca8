"""A campaign as data: its declaration, how a file of one is read, and the identity that its runs and trials go by."""
