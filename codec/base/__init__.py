"""How a base is made: pictures to crops, crops to weights, weights to the file that ships. No codec imports it.

corpus.py       which clips and photographs there are, and under which licences
references.py   predicted frames beside their references as a coder left them: x265, or an earlier base
crops.py        prepared crops on disk, written and read
batches.py      crops to batches
model.py        both halves of the network as training runs them
losses.py       what a step lowers
optimisers.py   who moves which weights, how fast
state.py        a training on disk between two steps
evaluate.py     what a base is worth on clips that it is not trained on
loop.py         train: all of these in one loop
export.py       a training to the file of a base
card.py         where a base is from, in words
"""
