"""Other ways to make volumes of a material, trained on the same data and scored by the same table."""
