#!/bin/sh
# Train the models of this example: sh examples/distances/train.sh OUT [LANGUAGE [SEED]]
set -e
out=${1:?give a directory for the runs}/${2:-zh}-${3:-1}
seed=${3:-1}
text=distances:${2:-zh},seed=$seed
neural="--seed $seed --dropout 0 --batch-size 32 --bptt 128"

lmkit train "$text" --model ngram --order 5 --out "$out/ngram-5"
lmkit train "$text" --model ngram --order 8 --out "$out/ngram-8"
lmkit train "$text" --model ngram --order 11 --out "$out/ngram-11"
lmkit train "$text" $neural --params 100k --answer-weight 10 --model window --order 13 --lr 0.01 --max-steps 2000 --out "$out/window-13"
lmkit train "$text" $neural --params 100k --answer-weight 10 --model rnn --lr 0.002 --max-steps 2000 --out "$out/rnn"
lmkit train "$text" $neural --params 100k --answer-weight 10 --model gru --lr 0.03 --max-steps 600 --out "$out/gru"
lmkit train "$text" $neural --params 100k --answer-weight 10 --model lstm --lr 0.01 --forget-bias 1 --max-steps 2000 --out "$out/lstm"
# Both sides: half of the sentences have their cause to the right of the blank.
lmkit train "$text,cause=either" $neural --answer-weight 30 --model elmo --inputs tokens --num-layers 1 --hidden-size 72 \
    --lr 0.01 --max-steps 3000 --out "$out/elmo"
