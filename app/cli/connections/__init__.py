"""How many connections the API holds, for how long, and what is answered beyond that."""
