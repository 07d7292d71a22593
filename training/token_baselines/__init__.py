"""What nets with learners are compared with: other ways to make one trained transformer cheaper."""
