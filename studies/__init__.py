"""Studies that compare methods. They import `training`; nothing imports them."""
