"""Several trainings of one recipe, and figures over them."""
