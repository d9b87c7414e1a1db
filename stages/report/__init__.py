"""Stage `report`: metrics of all experiments -> one HTML page."""
