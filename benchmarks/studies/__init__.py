"""What adapting is for: people and sensors that no training has seen, from the data to the device.

A study is one file that declares a `Study`; everything else is common. `python -m benchmarks.studies --help`.
"""

# name -> "module:constant"
STUDIES: dict[str, str] = {
    "muscle": "benchmarks.studies.muscle:STUDY",
    "drift": "benchmarks.studies.drift:STUDY",
    "words": "benchmarks.studies.words:STUDY",
    "digits": "benchmarks.studies.digits:STUDY",
    "moves": "benchmarks.studies.moves:STUDY",
    "waist": "benchmarks.studies.waist:STUDY",
}
