"""The networks: one file each, one function a figure, nothing but the graph.

Every function takes a batch of images or features and returns features; weights, classes and data
are no concern of theirs. Branches are listed, and concatenated, in the order of the authors'
release, so that its weights fit; the order on the page differs in places and means nothing.
"""
