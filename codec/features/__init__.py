"""What a frame's patches mean: CLIP features of a teacher, their caches, and search in the features of files.

teacher.py   CLIPManager: features of patches, pictures and texts
index.py     the features of a file as unit vectors, cached and memory-mapped
moments.py   search: a query -> moments; label: labels -> stretches of frames; teacher_of: whom the files imitate
pictures.py  contact sheets of moments, labels over time
cache.py     where caches lie
"""

from codec.features.moments import Moment, Stretch, label, search, teacher_of

__all__ = ["Moment", "Stretch", "label", "search", "teacher_of"]
