"""What a net with learners saves, beside its dense teacher and beside other ways to save."""
