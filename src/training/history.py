"""The training history, one row per epoch: source of the printed table, metrics/history.csv and the kept epoch."""

Row = dict[str, float | None]
History = list[Row]


def best_epoch(history: History) -> int:
    """The first epoch (from 1) with the highest validation accuracy. The last epoch if there is no validation split."""
    accuracies = [row["val_accuracy"] for row in history]
    known = [accuracy for accuracy in accuracies if accuracy is not None]
    return accuracies.index(max(known)) + 1 if known else len(history)


def should_stop(history: History, patience: int) -> bool:
    """Whether the validation loss has not improved for `patience` epochs. Never if `patience` is 0."""
    losses = [row["val_loss"] for row in history if row["val_loss"] is not None]
    return patience > 0 and len(losses) > 0 and len(losses) - 1 - losses.index(min(losses)) >= patience


def table_head() -> str:
    """Header of the epoch table."""
    return "epoch  train loss  train acc  val loss   val acc      rate  images/s  seconds"


def table_line(row: Row) -> str:
    """One epoch as a line of the epoch table: accuracies in percent, dashes if there is no validation split."""
    return (
        f"{row['epoch']:>5.0f}  {row['train_loss']:>10.4f}  {_percent(row['train_accuracy']):>9}  "
        f"{_loss(row['val_loss']):>8}  {_percent(row['val_accuracy']):>8}  {row['lr']:>8.2e}  "
        f"{row['images_per_second']:>8.0f}  {row['seconds']:>7.1f}"
    )


def _loss(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.2f} %"
