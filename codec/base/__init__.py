"""How a base is made: clips to scenes, scenes to weights, weights to the file that ships. No codec imports it.

corpus.py       which clips and photographs there are, and under which licences
scenes.py       prepared scenes on disk, written and read: the frames of clips, and their motion
walks.py        scenes to the frames of a step, each made from those before it
model.py        both halves of the network as training runs them
losses.py       what a step lowers
optimisers.py   who moves which weights, how fast
moves.py        one move of the weights, recorded for a GPU
evaluate.py     what a base is worth on clips that it is not trained on
loop.py         train: all of these in one loop
export.py       a training to the file of a base
rows.py         what an encoder with a base codes of motion, to the tables of the format
card.py         where a base is from, in words
"""
