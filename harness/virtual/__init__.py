"""The virtual world: a whole testbed in one User-Mode Linux guest whose clock jumps. docs/virtual-time.md."""
