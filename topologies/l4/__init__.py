"""What the architectures with IPVS directors (A2 vip-l4) are made of: options, virtual servers, members."""
