"""What describes a photo besides its pixels: taken out of any file, written into a copy, compared.

``metadata`` is its face; ``items`` (a piece of it); ``containers``, ``simple`` and ``boxes`` take files apart;
``tiff`` (EXIF), ``xmp`` and ``iptc`` read what is in them; ``embed`` writes.
"""
