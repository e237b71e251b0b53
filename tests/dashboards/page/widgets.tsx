// Panel plugins: Grafana's own widgets behind the little of its plugins that our dashboards use. The plugins themselves are no packages.
import React from 'react';
import * as D from '@grafana/data';
import * as U from '@grafana/ui';

const sentence = (props: any) => props.fieldConfig?.defaults?.noValue ?? 'No data';
const Empty = (props: any) => <div style={{ padding: 12, color: '#6c6c6c' }}>{sentence(props)}</div>;
const nothing = (props: any) => !props.data.series.some((frame: any) => frame.length > 0);

function displayed(props: any, theme: any) {
  return D.getFieldDisplayValues({
    fieldConfig: props.fieldConfig, reduceOptions: props.options?.reduceOptions ?? { values: false, calcs: ['lastNotNull'] },
    replaceVariables: props.replaceVariables, theme, data: props.data.series, timeZone: props.timeZone,
  });
}

function Stat(props: any) {
  const theme = U.useTheme2();
  if (nothing(props)) {
    return <Empty {...props} />;
  }
  const found = displayed(props, theme);
  return (
    <div style={{ display: 'flex' }}>
      {found.map((one: any, key: number) => (
        <U.BigValue
          key={key} value={{ ...one.display, title: found.length > 1 ? one.display.title : undefined }} theme={theme}
          width={props.width / found.length} height={props.height} colorMode={U.BigValueColorMode.Value} graphMode={U.BigValueGraphMode.None}
        />
      ))}
    </div>
  );
}

function Bars(props: any) {
  const theme = U.useTheme2();
  if (nothing(props)) {
    return <Empty {...props} />;
  }
  const found = displayed(props, theme);
  const top = Math.max(...found.map((one: any) => one.display.numeric));
  const each = Math.min(70, props.height / found.length);
  return (
    <div>
      {found.map((one: any, key: number) => (
        <div key={key} style={{ height: each }}>
          <U.BarGauge
            value={one.display} field={{ ...one.field, min: one.field.min ?? 0, max: one.field.max ?? top }} theme={theme} width={props.width} height={each - 6}
            orientation={D.VizOrientation.Horizontal} displayMode={'basic' as any} namePlacement={'top' as any}
          />
        </div>
      ))}
    </div>
  );
}

function Table(props: any) {
  return nothing(props) ? <Empty {...props} /> : <U.Table data={props.data.series[0]} width={props.width} height={props.height} />;
}

function Lines(props: any) {
  if (nothing(props)) {
    return <Empty {...props} />;
  }
  const legend: any = { displayMode: 'list', placement: 'bottom', showLegend: true, calcs: [] };
  return (
    <U.TimeSeries
      frames={props.data.series} structureRev={props.data.structureRev} width={props.width} height={props.height} timeRange={props.timeRange}
      timeZone={props.timeZone} legend={legend}
    >
      {() => <></>}
    </U.TimeSeries>
  );
}

const MARGIN = { left: 56, bottom: 40, top: 10, right: 90 };

// Points with their axes: Grafana's xychart is a plugin without a package, so this is a drawing of ours and proves the data alone.
function Scatter(props: any) {
  const theme = U.useTheme2();
  if (nothing(props)) {
    return <Empty {...props} />;
  }
  const groups = props.data.series.map((frame: any) => frame.fields.filter((field: any) => field.type === D.FieldType.number).slice(0, 2));
  const [xs, ys] = [0, 1].map((at) => groups.flatMap((fields: any[]) => fields[at]?.values ?? []));
  const [width, height] = [props.width - MARGIN.left - MARGIN.right, props.height - MARGIN.top - MARGIN.bottom];
  const [topX, topY] = [1.1 * Math.max(...xs), 1.1 * Math.max(...ys)];
  const px = (x: number) => MARGIN.left + (x / topX) * width;
  const py = (y: number) => MARGIN.top + height - (y / topY) * height;
  const marks = [0, 0.5, 1];
  const axis = (at: number) => (groups[0][at] ? D.getFieldDisplayName(groups[0][at], props.data.series[0]) : '');
  const short = (value: number) => D.formattedValueToString(D.getValueFormat('short')(value));
  const words = { fontSize: 11, fill: theme.colors.text.secondary };
  return (
    <svg width={props.width} height={props.height}>
      {marks.map((at) => <text key={`x${at}`} x={px(at * topX)} y={MARGIN.top + height + 14} textAnchor="middle" {...words}>{short(at * topX)}</text>)}
      {marks.map((at) => <text key={`y${at}`} x={MARGIN.left - 6} y={py(at * topY) + 4} textAnchor="end" {...words}>{short(at * topY)}</text>)}
      <path d={`M${MARGIN.left},${MARGIN.top}V${MARGIN.top + height}H${MARGIN.left + width}`} fill="none" stroke={theme.colors.border.medium} />
      <text x={MARGIN.left + width / 2} y={props.height - 6} textAnchor="middle" {...words}>{axis(0)}</text>
      <text x={12} y={MARGIN.top + height / 2} textAnchor="middle" transform={`rotate(-90 12 ${MARGIN.top + height / 2})`} {...words}>{axis(1)}</text>
      {groups.map((fields: any[], group: number) => {
        const color = theme.visualization.getColorByName(theme.visualization.palette[group % 12]);
        return (
          <g key={group} fill={color}>
            {(fields[0]?.values ?? []).map((x: number, at: number) => <circle key={at} cx={px(x)} cy={py(fields[1].values[at])} r={5} />)}
            <text x={props.width - MARGIN.right + 8} y={MARGIN.top + 14 + 16 * group} fontSize={11}>{Object.values(fields[1]?.labels ?? {}).join(' ') || props.data.series[group].name}</text>
          </g>
        );
      })}
    </svg>
  );
}

function Text(props: any) {
  return <div style={{ padding: 8 }}>{props.options?.content}</div>;
}

type Custom = (builder: any) => void;
function plugin(id: string, component: any, custom?: Custom) {
  const made = new D.PanelPlugin(component);
  made.meta = { id, name: id, type: 'panel', info: { version: '13.2.2', logos: {} }, skipDataQuery: false } as any;
  made.useFieldConfig(custom ? { useCustomConfig: custom } : {});
  return made;
}

const TIME_SERIES = { drawStyle: 'line', lineInterpolation: 'linear', axisPlacement: 'auto', showPoints: 'auto', axisLabel: '' };
const TIME_SERIES_NUMBERS = { lineWidth: 1, fillOpacity: 10, pointSize: 5 };
const timeSeries: Custom = (builder) => {
  Object.entries(TIME_SERIES).forEach(([path, defaultValue]) => builder.addTextInput({ path, name: path, defaultValue }));
  Object.entries(TIME_SERIES_NUMBERS).forEach(([path, defaultValue]) => builder.addNumberInput({ path, name: path, defaultValue }));
};

export const plugins: Record<string, any> = {
  stat: plugin('stat', Stat), bargauge: plugin('bargauge', Bars), xychart: plugin('xychart', Scatter), text: plugin('text', Text),
  table: plugin('table', Table, (builder) => {
    builder.addTextInput({ path: 'align', name: 'align', defaultValue: 'auto' });
    builder.addCustomEditor({ id: 'cellOptions', path: 'cellOptions', name: 'cell', defaultValue: { type: 'auto' }, editor: () => null, override: () => null, process: D.identityOverrideProcessor, shouldApply: () => true });
  }),
  timeseries: plugin('timeseries', Lines, timeSeries),
};
