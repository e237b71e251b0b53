// A Prometheus data source for Grafana's query runner: the official one is under another licence than we may use here.
import * as D from '@grafana/data';
import * as S from '@grafana/scenes';
import { from } from 'rxjs';

const POINTS = 300;
export const asked: Array<{ expr: string; series: number }> = [];

export const settings: any = {
  id: 1, uid: 'prom', name: 'Prometheus', type: 'prometheus', isDefault: true, access: 'proxy', jsonData: {}, readOnly: false,
  meta: { id: 'prometheus', name: 'Prometheus', type: 'datasource', metrics: true, info: { logos: { small: '', large: '' } } },
};

const escaped = (value: unknown) => String(value).replace(/[.*+?^${}()|[\]\\]/g, '\\\\$&');
const spelled = (value: unknown) => (Array.isArray(value) ? `(${value.map(escaped).join('|')})` : String(value));

export class Prometheus extends D.DataSourceApi<any> {
  constructor(private address: string) {
    super(settings);
  }

  private async get(path: string, question: Record<string, any>) {
    const answer = await (await fetch(`${this.address}${path}?${new URLSearchParams(question)}`)).json();
    if (answer.status !== 'success') {
      throw new Error(answer.error);
    }
    return answer.data;
  }

  private filled(text: string, scope: any, seconds = 60): string {
    const scene = scope?.__sceneObject?.value;
    const whole = text.replace(/\$__rate_interval|\$__interval/g, `${seconds}s`).replace(/\$__range/g, `${seconds}s`);
    return scene ? S.sceneGraph.interpolate(scene.valueOf(), whole, scope, spelled) : whole;
  }

  query(request: any): any {
    return from(this.run(request));
  }

  private async run(request: any) {
    const data: any[] = [];
    const [start, end] = [request.range.from.unix(), request.range.to.unix()];
    const step = Math.max(1, Math.ceil((end - start) / POINTS));
    const several = request.targets.filter((target: any) => target.format === 'table').length > 1;
    for (const target of request.targets) {
      const expr = this.filled(target.expr, request.scopedVars, Math.max(15, 4 * step));
      const found = target.instant
        ? await this.get('/api/v1/query', { query: expr, time: end })
        : await this.get('/api/v1/query_range', { query: expr, start, end, step });
      asked.push({ expr, series: found.result.length });
      data.push(...(target.format === 'table' ? [table(target, found.result, several)] : series(target, found.result)));
    }
    return { data };
  }

  // label_values(metric, label) and query_result(expr), as the variables of a dashboard ask
  async metricFindQuery(query: any, options: any) {
    const text = this.filled(query.query ?? query, options?.scopedVars);
    const result = /^query_result\((.+)\)$/s.exec(text);
    if (result) {
      const found = await this.get('/api/v1/query', { query: result[1] });
      return found.result.map((row: any) => {
        const labels = Object.entries(row.metric).sort().map(([name, value]) => `${name}="${value}"`);
        return { text: `{${labels.join(', ')}} ${row.value[1]} ${row.value[0] * 1000}` };
      });
    }
    const values = /^label_values\((?:(.+),\s*)?(\w+)\)$/s.exec(text)!;
    const found = await this.get(`/api/v1/label/${values[2]}/values`, values[1] ? { 'match[]': values[1] } : {});
    return found.map((value: string) => ({ text: value }));
  }

  async testDatasource() {
    return { status: 'success', message: '' } as any;
  }
}

// a value's column is named after its query only where there are several
function table(target: any, result: any[], several: boolean) {
  const names = [...new Set(result.flatMap((row) => Object.keys(row.metric)))];
  const last = result.map((row) => row.value ?? row.values.at(-1));
  return D.toDataFrame({
    refId: target.refId,
    fields: [
      { name: 'Time', type: D.FieldType.time, values: last.map((value) => value[0] * 1000) },
      ...names.map((name) => ({ name, type: D.FieldType.string, values: result.map((row) => row.metric[name] ?? '') })),
      { name: several ? `Value #${target.refId}` : 'Value', type: D.FieldType.number, values: last.map((value) => Number(value[1])) },
    ],
  });
}

function series(target: any, result: any[]) {
  const auto = !target.legendFormat || target.legendFormat === '__auto';
  return result.map((row) => {
    const points = row.values ?? [row.value];
    const shown = auto ? '' : target.legendFormat.replace(/\{\{\s*(\w+)\s*\}\}/g, (_: string, name: string) => row.metric[name] ?? '');
    return D.toDataFrame({
      refId: target.refId,
      fields: [
        { name: 'Time', type: D.FieldType.time, values: points.map((point: any) => point[0] * 1000) },
        {
          name: 'Value', type: D.FieldType.number, labels: row.metric, config: shown ? { displayNameFromDS: shown } : {},
          values: points.map((point: any) => Number(point[1])),
        },
      ],
    });
  });
}
