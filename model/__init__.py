"""The network: U²-Net in torch, and the engine that runs it. Imports neither Beam nor storage."""
