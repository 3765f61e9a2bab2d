"""The verb ``grid``: variants × data sets × seeds × victims, one cell after another, each computed once, ever.

A grid is a YAML file in ``configs/grid`` (or any path), with these keys:

* ``about``: what is asked, and what is expected (one paragraph);
* ``data``: name of a row's data set → the ``key=value`` pairs that differ from the defaults, among them ``data``;
* ``variants``: name → ``key=value`` pairs of the protection, and ``trained_on`` where the generator is that of another
  of the data sets, to which all images, and perhaps all classes, are new; or, in its place,
  ``parameters``: key → list of values, of which every combination is a variant;
* ``victims``: name → ``key=value`` pairs below ``victim.``;
* ``settings``: some of SETTINGS_ALL; where a victim's set is protected in part (``victim.share``, ``class_share``), the
  same victim on the clean remainder alone is added as ``remainder`` (of A) and ``remainder_fast`` (of B);
* ``seeds``: list of seeds;
* ``measured_on``: ``test``, or ``rest``: every training image that the victim does not train on, clean. Whatever is
  chosen by a grid is chosen on ``rest``;
* ``published`` (may be absent): name of a file of ``configs/published``, whose figures the report shows beside ours.

A cell is either a protection (fitted, its sets stored in ``<store>/<key>``) or a victim. Its key is a hash of all that
decides its result, so cells are shared between grids and by victims that are the same, and a changed option makes a new
cell. Each finished cell is one
JSON file in the store, whole or absent: after ``kill -9`` the same command resumes it. ``cells.jsonl`` in the grid's
own folder holds the finished rows, which count as computed as well: committed rows need not be computed again.
"""
