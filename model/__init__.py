"""The network at work: what an engine is (engine.py), which one a machine gets (load.py), and the engines.

uint8 images come in, uint8 saliency maps go out. Photos, policies, Beam and storage belong in transforms/; what is
known of the network without running it is in weights/, the only room that this one imports.
"""
