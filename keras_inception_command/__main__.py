"""`python -m keras_inception_command` is the command `keras-inception`."""

from keras_inception_command import main

main()
