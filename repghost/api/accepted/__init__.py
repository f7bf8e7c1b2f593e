"""What the functions accept: images in every form people have, as the bytes that a network is given."""
