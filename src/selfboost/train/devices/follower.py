"""A follower process: `python -m selfboost.train.devices.follower`, started by a training on several devices."""

from selfboost.train.devices.parallel import follow, watch_conductor

if __name__ == "__main__":
    watch_conductor()
    follow()
