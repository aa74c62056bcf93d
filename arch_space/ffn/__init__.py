"""Feed-forward kinds, one file each; a new file here is found by `arch_space.registry.FFN` with no other edit."""
