"""How drawn people are drawn; `fedklpr_flwr.data.synthetic` is the way in."""
