/*
 * Stands in for Jenkins: runs a declarative Jenkinsfile as far as this project's goes, and refuses every word that it does not know.
 *
 * Reads a case a line as JSON and answers each with a line of JSON. Where a case names a `workspace`, its steps are really executed
 * there, with all that they print in `log` and what is archived in `archive`; otherwise they are only noted.
 */
import groovy.json.JsonOutput
import groovy.json.JsonSlurper
import groovy.transform.InheritConstructors
import groovy.transform.TupleConstructor
import java.nio.file.*

@InheritConstructors
class Refused extends RuntimeException { }

@InheritConstructors
class StepFailed extends RuntimeException { }

/** What is between two braces: each word does what it is given here to do, and there are no others. */
@TupleConstructor
class Block {
    String place
    Map words

    Object invokeMethod(String word, Object arguments) {
        List given = arguments as List
        try {
            return words[word].call(*given)
        } catch (MissingMethodException | NullPointerException ignored) {
            throw new Refused("The harness does not know '$word' in $place with $given.")
        }
    }

    Object getProperty(String name) { throw new Refused("The harness does not know '$name' in $place.") }

    static Object read(Closure body, String place, Map words) {
        body.delegate = new Block(place, words)
        body.resolveStrategy = Closure.DELEGATE_ONLY
        return body.call()
    }

    /** What each word was told, once at most. */
    static Map told(Closure body, String place, Map words, List required = []) {
        Map found = [:]
        read(body, place, words.collectEntries { word, Closure meaning ->
            [word, { Object... given ->
                if (word in found) { throw new Refused("There are two of '$word' in $place.") }
                found[word] = meaning.call(*given)
            }]
        })
        required.each { if (!(it in found)) { throw new Refused("There is no '$it' in $place.") } }
        return found
    }
}

class Build {
    static final List RESULTS = ['SUCCESS', 'UNSTABLE', 'FAILURE']
    static final Closure KEPT = { value -> value }
    static final Closure TIMEOUT = { Map time -> "$time.time $time.unit".toString() }
    static final Map CONDITIONS = [always: KEPT, failure: KEPT, success: KEPT, cleanup: KEPT]
    static final Closure POST = { Closure body -> Block.told(body, 'post', CONDITIONS) }

    final Map given
    final Map environment
    final List secrets = []
    Map answer = [result: 'SUCCESS', stages: [:], steps: [], options: [:], reasons: []]
    String current = 'pipeline'

    Build(Map given) {
        this.given = given
        environment = [:] + given.environment
    }

    /** Each word adds a condition, and all of them have to hold. */
    boolean when(Closure body) {
        List holds = []
        Block.read(body, 'when', [
            branch: { String name ->
                if (name =~ /[*?]/) { throw new Refused("The harness does not know patterns such as branch '$name'.") }
                holds << (environment.BRANCH_NAME == name)
            },
            changeRequest: { holds << (environment.CHANGE_ID != null) },
            not: { Closure condition -> holds << !when(condition) },
        ])
        return holds.every()
    }

    void pipeline(Closure body) {
        Map stages = [:]
        Map sections = Block.told(body, 'pipeline', [
            agent: { Closure agent -> Block.told(agent, 'agent', [label: KEPT], ['label']).label },
            options: { Closure options -> Block.told(options, 'options', [
                buildDiscarder: KEPT, logRotator: KEPT, disableConcurrentBuilds: { true }, skipStagesAfterUnstable: { true },
                timeout: TIMEOUT, timestamps: { true },
            ]) },
            stages: { Closure list -> Block.read(list, 'stages', [stage: { String name, Closure stage ->
                stages[name] = Block.told(stage, "stage '$name'", [
                    options: { Closure options -> Block.told(options, 'options of a stage', [timeout: TIMEOUT]) },
                    when: { Closure conditions -> when(conditions) }, steps: KEPT, post: POST,
                ], ['steps'])
            }]) },
            post: POST,
        ], ['agent', 'stages'])
        answer.agent = sections.agent
        answer.options.pipeline = sections.options
        stages.each { name, stage ->
            answer.options[name] = stage.options
            boolean goesOn = answer.result == 'SUCCESS' || answer.result == 'UNSTABLE' && !sections.options?.skipStagesAfterUnstable
            answer.stages[name] = goesOn && stage.when != false ? run(name, stage) : 'skipped'
        }
        current = 'pipeline'
        finish(sections.post)
    }

    String run(String name, Map stage) {
        String before = answer.result
        answer.result = 'SUCCESS'
        current = name
        execute(stage.steps)
        finish(stage.post)
        String result = answer.result
        worsen(before)
        return result
    }

    void finish(Map post) {
        ['always', answer.result.toLowerCase(), 'cleanup'].each { condition ->
            if (post?.containsKey(condition)) { execute(post[condition]) }
        }
    }

    void worsen(String result) { answer.result = [answer.result, result].max { RESULTS.indexOf(it) } }

    void execute(Closure steps) {
        try {
            Block.read(steps, "the steps of $current", [
                sh: { String script -> step('sh', script) { shell(script) } },
                junit: { String files -> step('junit', files) { archive(files) } },
                archiveArtifacts: { String files -> step('archiveArtifacts', files) { archive(files) } },
                deleteDir: { step('deleteDir', '') { ['rm', '-r', given.workspace].execute().waitFor() } },
                usernamePassword: { Map binding -> binding + [type: 'usernamePassword'] },
                file: { Map binding -> binding + [type: 'file'] },
                withCredentials: { List bindings, Closure body -> withCredentials(bindings, body, steps.delegate) },
            ])
        } catch (StepFailed failure) {
            answer.reasons << failure.message
            worsen('FAILURE')
        }
    }

    void withCredentials(List bindings, Closure body, Block words) {
        Map before = [:] + environment
        try {
            bindings.each { binding ->
                Map found = given.credentials[binding.credentialsId]
                if (found?.type != binding.type) { throw new StepFailed("There is no $binding.type '$binding.credentialsId'.") }
                secrets << binding.credentialsId
                [variable: 'file', usernameVariable: 'username', passwordVariable: 'password'].each { variable, part ->
                    if (variable in binding) { environment[binding[variable]] = found[part] ?: '' }
                }
            }
            Block.read(body, words.@place, words.@words)
        } finally {
            secrets.clear()
            environment.clear()
            environment.putAll(before)
        }
    }

    void step(String name, String argument, Closure act) {
        List variables = environment.keySet() - given.environment.keySet() as List
        answer.steps << [stage: current, step: name, argument: argument, credentials: [] + secrets, variables: variables]
        if (argument in given.failing) { throw new StepFailed("$argument failed") }
        if (argument in given.unstable) { worsen('UNSTABLE') }
        if (given.workspace) { act.call() }
    }

    void shell(String script) {
        ProcessBuilder builder = new ProcessBuilder('/bin/sh', '-xe', '-c', script).directory(new File(given.workspace))
        builder.environment().clear()
        builder.environment().putAll(environment)
        builder.redirectErrorStream(true).redirectOutput(ProcessBuilder.Redirect.appendTo(new File(given.log)))
        int status = builder.start().waitFor()
        if (status != 0) { throw new StepFailed("$script returned exit code $status") }
    }

    void archive(String pattern) {
        Path root = Paths.get(given.workspace)
        List files = Files.walk(root).iterator().findAll { Files.isRegularFile(it) }.collect { root.relativize(it) }
        files = files.findAll { FileSystems.default.getPathMatcher("glob:$pattern").matches(it) }
        if (!files) { throw new StepFailed("There are no files $pattern") }
        files.each { file ->
            Path copy = Paths.get(given.archive).resolve(file)
            Files.createDirectories(copy.parent)
            copy.toFile().bytes = root.resolve(file).toFile().bytes
        }
    }
}

System.in.eachLine { line ->
    Build build = new Build(new JsonSlurper().parseText(line))
    try {
        new GroovyShell(new Binding(pipeline: { Closure body -> build.pipeline(body) })).evaluate(build.given.jenkinsfile)
    } catch (Refused | GroovyRuntimeException refused) {
        build.answer = [refused: refused.message]
    }
    println JsonOutput.toJson(build.answer)
}
