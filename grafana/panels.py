"""Panels that every dashboard is made of. Each has a description, a unit, and a sentence for when there is nothing to show.

The words of a panel are its contract: `about` says what the number means, `empty` why there may be none.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from grafana_foundation_sdk.builders import bargauge, common, dashboard, prometheus, stat, table, timeseries, xychart
from grafana_foundation_sdk.models.common import (
    BarGaugeDisplayMode,
    BarGaugeNamePlacement,
    GraphDrawStyle,
    VisibilityMode,
    VizOrientation,
)
from grafana_foundation_sdk.models.dashboard import (
    DashboardLinkType,
    DataSourceRef,
    DataTransformerConfig,
    DynamicConfigValue,
    FieldColorModeId,
    Threshold,
    ThresholdsMode,
    ValueMap,
    ValueMappingResult,
)

DATASOURCE = DataSourceRef(type_val="prometheus", uid="${datasource}")
GOOD, FAIR, BAD, PLAIN = "green", "orange", "red", "blue"


def query(expr: str, legend: str = "", *, instant: bool = True, ref: str = "A", shape: str = "time_series") -> Any:
    built = prometheus.Dataquery().expr(expr).ref_id(ref).legend_format(legend or "__auto").format(shape)
    return built.instant() if instant else built.range()


def steps(*levels: tuple[float, str], base: str = GOOD) -> Any:
    """Thresholds: `base` below the first level."""
    found = [Threshold(value=None, color=base), *(Threshold(value=value, color=color) for value, color in levels)]
    return dashboard.ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(found)


NEUTRAL = steps(base=PLAIN)
BY_LEVEL = dashboard.FieldColor().mode(FieldColorModeId.THRESHOLDS)


def _said(panel: Any, title: str, about: str, empty: str) -> Any:
    return panel.title(title).description(about).datasource(DATASOURCE).no_value(empty)


def bars(
    title: str, expr: str, unit: str, about: str, empty: str, legend: str = "{{provider}}", levels: Any = None
) -> Any:
    """One horizontal bar a series, its name above it, so that no name is cut; an instant query."""
    panel = _said(bargauge.Panel(), title, about, empty).unit(unit).thresholds(levels or NEUTRAL).min(0)
    panel = (
        panel.color_scheme(BY_LEVEL).orientation(VizOrientation.HORIZONTAL).name_placement(BarGaugeNamePlacement.TOP)
    )
    panel = panel.display_mode(BarGaugeDisplayMode.BASIC).reduce_options(_newest())
    return panel.with_target(query(expr, legend))


def number(
    title: str,
    expr: str,
    unit: str,
    about: str,
    empty: str,
    levels: Any = None,
    legend: str = " ",
    mappings: Any = None,
) -> Any:
    """One figure, large; an instant query."""
    panel = _said(stat.Panel(), title, about, empty).unit(unit).thresholds(levels or NEUTRAL).reduce_options(_newest())
    panel = panel.color_scheme(BY_LEVEL)
    if mappings:
        panel = panel.mappings(mappings)
    return panel.with_target(query(expr, legend))


def yes_no(yes: str, no: str) -> list[ValueMap]:
    """1 and 0 in words."""
    return [
        ValueMap(options={"1": ValueMappingResult(text=yes, color=GOOD), "0": ValueMappingResult(text=no, color=BAD)})
    ]


def _newest() -> Any:
    return common.ReduceDataOptions().calcs(["lastNotNull"]).values(False)


def lines(
    title: str,
    targets: Sequence[tuple[str, str]],
    unit: str,
    about: str,
    empty: str,
    levels: Any = None,
) -> Any:
    """Over time, from zero; `targets` are (expression, legend). A share that stays at zero gets an axis of some per cent."""
    panel = _said(timeseries.Panel(), title, about, empty).unit(unit)
    panel = panel.draw_style(GraphDrawStyle.LINE).line_width(2).fill_opacity(5).show_points(VisibilityMode.AUTO)
    panel = panel.min(0)
    if unit == "percentunit":
        panel = panel.axis_soft_max(0.05)
    if levels:
        panel = panel.thresholds(levels)
    for ref, (expr, legend) in zip("ABCDEFGH", targets, strict=False):
        panel = panel.with_target(query(expr, legend, instant=False, ref=ref))
    return panel


def rows(
    title: str, targets: Sequence[str], about: str, empty: str, *, columns: Sequence[tuple[str, str]],
    hide: Sequence[str] = (), units: Sequence[tuple[str, str]] = (), transforms: Sequence[Any] = (),
) -> Any:  # fmt: skip
    """A table of instant queries, merged by their labels. `columns` are (field, shown as), in order; others are hidden."""
    panel = _said(table.Panel(), title, about, empty)
    for ref, expr in zip("ABCDEFGH", targets, strict=False):
        panel = panel.with_target(query(expr, ref=ref, shape="table"))
    order = {name: position for position, (name, _) in enumerate(columns)}
    organised = {
        "indexByName": order, "renameByName": dict(columns),
        "excludeByName": dict.fromkeys(("Time", "__name__", "instance", "job", *hide), True),
    }  # fmt: skip
    changes = [transformation("merge"), *transforms, transformation("organize", organised)]
    panel = panel.transformations(changes).override_by_regexp(".*", [DynamicConfigValue(id_val="noValue", value="–")])
    for name, unit in units:
        panel = panel.override_by_name(name, [DynamicConfigValue(id_val="unit", value=unit)])
    return panel


def transformation(name: str, options: dict[str, Any] | None = None) -> Any:
    return DataTransformerConfig(id_val=name, options=options or {})


def scatter(title: str, x: tuple[str, str], y: tuple[str, str], about: str, empty: str, by: str) -> Any:
    """Two instant queries against each other, (expression, axis); a series for each value of label `by`."""
    panel = _said(xychart.Panel(), title, about, empty)
    panel = panel.with_target(query(x[0], ref="A", shape="table")).with_target(query(y[0], ref="B", shape="table"))
    renamed = {"Value #A": x[1], "Value #B": y[1]}
    kept = {"indexByName": {"Value #A": 0, "Value #B": 1}, "renameByName": renamed, "excludeByName": {"Time": True}}
    panel = panel.transformations([
        transformation("merge"), transformation("organize", kept),
        transformation("partitionByValues", {"fields": [by], "keepFields": False}),
    ])  # fmt: skip
    return panel.override_by_name(x[1], [DynamicConfigValue(id_val="custom.axisLabel", value=x[1])])


def link_to(uid: str, title: str, variables: str) -> DynamicConfigValue:
    """Of a column: its value opens another dashboard; `variables` is a query string such as var-run=${__value.text}."""
    return DynamicConfigValue(
        id_val="links", value=[{"title": title, "url": f"/d/{uid}?${{datasource:queryparam}}&{variables}"}]
    )


def to_the_others() -> Any:
    """The way to the next question: every dashboard of ours, with what is picked here."""
    link = dashboard.DashboardLink("Tokenmark").type(DashboardLinkType.DASHBOARDS).tags(["tokenmark"]).as_dropdown(True)
    return (
        link.include_vars(True)
        .keep_time(True)
        .icon("external link")
        .tooltip("The other dashboards, with what is picked here")
    )
