"""The nets compared, and what is measured of them."""
