"""The live page of runs, finished or growing: files of their folders are read, nothing is written or asked elsewhere.

`runs` finds the folders, `watcher` follows their files, `texts` indexes prompts and answers, `progress` says what is
open and how long it may take, `state` puts a run into words, `app` answers a browser, `serving` binds the address.
"""
