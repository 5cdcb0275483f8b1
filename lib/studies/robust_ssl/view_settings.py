"""The settings of Moebius views, as each file of the release has them: probability, |c| and d."""

from lib.transforms.conformal_views import ConformalViews
from lib.transforms.views import SIMCLR, Views

LIBRARY = ConformalViews(p=1.0, magnitude=(0.1, 0.3))  # the package's defaults
SUPERVISED = ConformalViews(p=0.2, magnitude=(0.2, 0.3))  # mobius.py
SIMCLR_PRETRAINING = ConformalViews(p=0.8, magnitude=(0.2, 0.4), d=0.75, views=SIMCLR)  # models/ssl.py
SIMCLR_LINEAR = ConformalViews(p=0.2, magnitude=(0.2, 0.4), d=0.75, views=Views(jitter_p=0, gray=0, blur=0))
# DINO/MobiusTransform.py, which main_dino_mobius.py calls behind the crop, of whole and small crops alike.
DINO = ConformalViews(p=0.8, magnitude=(0.1, 0.3), views=Views(crop=(0.4, 1.0)), after_crop=True)
