"""Commands about the float network; none of them quantizes or reads a bundle."""
