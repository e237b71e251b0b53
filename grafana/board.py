"""A dashboard in the making: panels are laid into lines of 24 columns, and a line that is not full is a mistake said at once."""

from __future__ import annotations

from typing import Any

from grafana_foundation_sdk.builders import dashboard
from grafana_foundation_sdk.models.dashboard import GridPos, VariableRefresh, VariableSort

from .panels import DATASOURCE, to_the_others

WIDTH = 24


class Board:
    """Rows and panels in reading order. `build` gives the SDK's dashboard."""

    def __init__(
        self, uid: str, title: str, about: str, *tags: str, since: str = "now-7d", refresh: str = "1m"
    ) -> None:
        self._board = (
            dashboard.Dashboard(f"Tokenmark / {title}").uid(uid).description(about).tags(["tokenmark", *tags])
            .refresh(refresh).time(since, "now").timezone("browser").editable().link(to_the_others())
            .with_variable(dashboard.DatasourceVariable("datasource").label("Data source").type("prometheus"))
        )  # fmt: skip
        self._x = self._y = self._line_height = 0
        self._ids = 0

    def pick(self, name: str, label: str, query: str, *, many: bool = True, regex: str = "", about: str = "") -> Board:
        """A variable. Of many, all are taken at first, and those without the label too; of one, the first. A query with a
        `regex` brings its own order."""
        found = (
            dashboard.QueryVariable(name)
            .label(label)
            .query(query)
            .datasource(DATASOURCE)
            .sort(VariableSort.DISABLED if regex else VariableSort.ALPHABETICAL_ASC)
        )
        found = found.refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
        if about:
            found = found.description(about)
        if regex:
            found = found.regex(regex)
        if many:
            found = found.multi(True).include_all(True).all_value(".*")
        self._board = self._board.with_variable(found)
        return self

    def row(self, title: str) -> Board:
        self._full_line()
        self._ids += 1
        row = dashboard.Row(title).id(self._ids).grid_pos(GridPos(h=1, w=WIDTH, x=0, y=self._y))
        self._board = self._board.with_row(row)
        self._y += 1
        return self

    def add(self, panel: Any, width: int, height: int = 8) -> Board:
        if self._x and self._line_height != height:
            raise ValueError(f"panels of one line have one height: {self._line_height} and {height}")
        if self._x + width > WIDTH:
            raise ValueError(f"a line has {WIDTH} columns; this panel would end at {self._x + width}")
        self._ids += 1
        self._board = self._board.with_panel(
            panel.id(self._ids).grid_pos(GridPos(h=height, w=width, x=self._x, y=self._y))
        )
        self._x, self._line_height = self._x + width, height
        if self._x == WIDTH:
            self._y, self._x = self._y + height, 0
        return self

    def annotate(self, annotation: Any) -> Board:
        self._board = self._board.annotation(annotation)
        return self

    def build(self) -> Any:
        self._full_line()
        return self._board.build()

    def _full_line(self) -> None:
        if self._x:
            raise ValueError(f"the last line ends at column {self._x} of {WIDTH}")
