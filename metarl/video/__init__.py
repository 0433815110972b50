"""Videos of adaptation: recorded, composed, encoded."""
