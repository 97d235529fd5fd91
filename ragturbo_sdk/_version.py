"""The one place that holds the version; packaging, bundles and pictures read it from here."""

__version__ = "0.2.0"
