"""What watches jobs and orders from here, in a terminal or in the background, and ends them."""
