"""What the architectures with proxies (A1 vip-l7) are made of: options, proxies, VRRP."""
