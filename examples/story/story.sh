#!/bin/sh
# From the n-gram to ELMo on one text: sh examples/story/story.sh OUT [LANGUAGE [SEED]]
set -e
language=${2:-zh} seed=${3:-1}
folder=${1:?give a directory for the runs and the pictures}/$language-$seed
sentence="今天天气很好，我去打球，不小心把手机摔坏了，所以我下午要去____。"
candidates=修手机,喝水,吃饭
if [ "$language" = en ]; then
    sentence="today the weather was good , he went to play , by accident i got the phone broken , so afterwards i am going to ____ ."
    candidates="repair the phone,drink some water,eat some food"
fi

sh "$(dirname "$0")/../distances/train.sh" "$1" "$language" "$seed"
cd "$folder"
echo "Which model finds the text most probable?"
lmkit compare ngram-5 ngram-11 window-13 rnn gru lstm elmo --data "distances:$language,part=test,count=500" --plot compare.png
echo "How far back does each model know the cause?"
lmkit distances ngram-5 ngram-11 window-13 rnn gru lstm elmo --language "$language" --plot distances.png
echo "What does each model fill in, and why?"
lmkit fill ngram-5 ngram-11 window-13 rnn gru lstm elmo "$sentence" --candidates "$candidates" --why --plot why.png --html why.html
echo "How far back does learning reach?"
lmkit context rnn gru lstm --data "distances:$language,part=test,count=500" --longest 50 --plot context.png
