"""The nets, the gate and the route of a gated converter, for the recipe `cbnet` and for studies."""
