"""The finished models on one scan of the reader: anomaly map, reconstruction and a report.

The scan must be a T1: no other contrast can be told from its header, and the models know no other.
"""

from sadm_utils.predict.finished import choose_network, open_finished_run
from sadm_utils.predict.scan import predict_scan

__all__ = ["choose_network", "open_finished_run", "predict_scan"]
