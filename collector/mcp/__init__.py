"""Questions of language models, over the Model Context Protocol: a sibling of `web`. It only reads.

server      the protocol: which tools there are, calls, errors; the only module that imports the SDK
tools       the tools: their arguments, which report each asks, and what its answer does not say
evidence    the tool that shows why a transition is believed, or what was seen
answers     how an answer stays small
"""
