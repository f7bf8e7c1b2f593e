"""Pages and sections of docs/, each made from its JSON alone."""
