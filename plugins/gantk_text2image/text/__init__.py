"""The text encoders of this plugin; each module is imported when its encoder is used."""
